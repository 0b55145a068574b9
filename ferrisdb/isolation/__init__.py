"""The laboratory: what a database really does when transactions meet.

    run       a spec, step by step, against FerrisDB or another database     runner
    matrix    anomalies x levels: prevented, allowed, or errored             matrix

    spec_parser   text -> Spec                 spec           sessions, steps, permutations
    runner        Spec -> PermutationRun       session_thread one session, one thread
    target        what it runs against         ferris_target, dbapi_target
    report        -> isolationtester's text, or JSON
    expected      a recorded output, and where a run differs from it

It drives databases from outside, through the interfaces that programs use. What it needs
beyond them is one question, which FerrisDB answers: is this session waiting for a lock?
"""
