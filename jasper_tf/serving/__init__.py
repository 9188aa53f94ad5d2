"""Clients of servers."""
