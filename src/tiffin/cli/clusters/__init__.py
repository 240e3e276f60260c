"""Commands on a cluster: the client they use, with the methods of that of a controller.

``calls``: a method for each operation | ``reading``: objects of a cluster as the commands show them |
``documents``: files as a cluster takes them. Nothing here asks an operator: it all comes from, and goes to, the
API server, with the rights of whoever runs the command.
"""
