"""The pictures of the page: SVG written by hand, so that it follows the reader's light or dark setting.

Every picture is drawn for a width in CSS pixels; the page holds a wide and a narrow drawing of each.
"""
