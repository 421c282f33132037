"""How models are trained and measured: many at once where possible, else one by one."""
