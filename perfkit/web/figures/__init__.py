"""Charts of the page: Plotly figures that lay out what `perfkit.views` and predictions hold."""
