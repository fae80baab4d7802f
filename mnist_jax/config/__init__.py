"""What a run can be configured with: the table of fields, their validation, and variants of one config.

Doors: `fields.FIELDS`, the table, and `validation.validate`. `identity` decides if two configs are of one
run, `reference` renders the table, `variants` makes the members of sweeps, `population` those of a
population.
"""
