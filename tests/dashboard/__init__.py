"""The Grafana dashboard of the chart, made from its panels."""
