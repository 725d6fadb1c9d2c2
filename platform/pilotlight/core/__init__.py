"""Values and errors that every other layer speaks in; nothing here does IO or reads a clock."""
