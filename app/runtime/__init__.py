"""Clients, connections, transactions and retries; no knowledge of messages."""
