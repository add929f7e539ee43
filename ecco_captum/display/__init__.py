"""What every view is drawn with: pages, heat tables, line charts, colours, figures."""
