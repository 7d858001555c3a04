"""Export threads and memories as JSON Lines, which `threadlog import` reads back equal."""

from threadlog.exporting.export import Export, ExportFormat

__all__ = ["Export", "ExportFormat"]
