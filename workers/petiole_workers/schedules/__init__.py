"""Schedules: runs that workers submit when their time comes, once for each time.

``schedule`` is the record, ``timing`` its times, ``book`` how it is kept in a store, ``firing`` what a sweep does with it.
"""
