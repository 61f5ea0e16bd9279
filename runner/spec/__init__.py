"""The spec: a Markdown file with optional YAML front matter."""
