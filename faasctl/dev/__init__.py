"""`faasctl dev`: a server of its own, and the code of every save answering."""
