"""Hold what analyses share: the command line, options, instruction sets, judges and parts."""
