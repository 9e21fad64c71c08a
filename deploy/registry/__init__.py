"""Bundles as OCI artifacts, without any tool but Python."""
