"""Cost tables for papers: methods x visual tokens x models x formats x GPUs, and the columns that are asked for.

TableRequest --build_table--> CostTable --perfkit.reports--> LaTeX, HTML, Markdown, csv, JSON
"""
