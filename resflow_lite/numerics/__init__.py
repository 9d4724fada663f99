"""Pure numerical methods: induced norms and fixed points. Nothing here knows of flows."""
