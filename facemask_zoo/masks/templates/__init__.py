"""The templates that ship, one SVG each, drawn over ``chart.svg``."""
