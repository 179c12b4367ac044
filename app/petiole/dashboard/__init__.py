"""The dashboard: pages for people, made on the server, kept fresh in the browser. No JavaScript build, nothing from elsewhere.

    router       all pages; :func:`petiole.dashboard.router.install` puts them into the application
    rendering    one page from one template: security headers, ETag, what every page knows
    pages/       one module a page or a family of actions
    templates/   Jinja2; ``layout.html`` is what every page stands in, ``parts/`` what several share
    static/      style sheets (tokens first), scripts (ES modules), vendored libraries

Pages work without JavaScript: links, forms and redirects. With it, what is marked ``data-live`` follows the server.
"""
