"""A report to send to a colleague: an analysis or a validation as one page, written as HTML and as PDF.

`page` is what a report holds, whatever it is written as; `analysis` and `validated` make one, `html` and `pdf` write
it, so that the two cannot differ.
"""
