"""The HTTP interface, a module for each family of routes."""

from __future__ import annotations
