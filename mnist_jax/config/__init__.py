"""The config of a run: the table of fields, their validation, and variants of one config.

Doors: `fields.FIELDS`, the table, and `validation.validate`. `identity` decides whether two configs describe
the same run, `reference` renders the table, `variants` makes the members of sweeps, and `population` those of
a population.
"""
