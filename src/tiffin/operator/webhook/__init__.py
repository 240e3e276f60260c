"""The API server asks before it stores an object: what the definitions cannot say is said here.

``reviewing`` (an object to a verdict) | ``certificates`` (an authority and what it signs; pure) | ``keeping`` (the
Secret that holds them, and the registration that trusts them) | ``serving`` (HTTPS). Nobody waits for it in vain:
without an answer the object is taken, and the operator says in its status what is wrong.
"""
