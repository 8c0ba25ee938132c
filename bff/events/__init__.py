"""Audit events: their names, their envelope, the outbox that keeps them, and the publishers that deliver them."""
