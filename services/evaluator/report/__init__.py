"""The report: one data structure, told as JSON, as a web page and on paper."""
