"""SQL: parse, bind, plan, compile, run."""
