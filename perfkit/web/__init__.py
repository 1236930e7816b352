"""The page: choices, what the library answers, figures that can be pointed at; no formula stands here."""

MEGABYTES = 5  # of an uploaded file
