"""Failover between real servers, which takes minutes: ``make chaos-nodes``, not ``make test``."""
