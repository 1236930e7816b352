"""Tables: tidy ones in every format (`plain`), and ones for a paper (`paper`, with a writer a language)."""

from perfkit.tables.plain import ALWAYS, BAR_WIDTHS, FORMATS, Column, Table, Tables, render_for_people, show

__all__ = ["ALWAYS", "BAR_WIDTHS", "FORMATS", "Column", "Table", "Tables", "render_for_people", "show"]
