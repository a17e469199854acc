"""What people read: tables, charts, mistakes, model cards, templates."""
