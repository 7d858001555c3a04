"""How a transaction is run; knows no messages."""
