"""Reports: results and figures as one self-contained HTML page."""
