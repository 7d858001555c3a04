"""The differences between databases: all SQL of the models that depends on the dialect.

Callers import constructs from the modules by theme and have no branches for single databases. To
support another database, add its rendering to each construct here.
"""
