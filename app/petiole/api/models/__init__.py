"""The bodies of requests and answers, a resource a file. Answers are made of :mod:`petiole.documents`."""
