"""Who may do what on a server: scopes, API keys, bearer tokens of an identity provider. Knows nothing of HTTP."""
