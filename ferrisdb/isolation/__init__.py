"""The laboratory: what a database really does when transactions meet.

    run       a spec, step by step, against FerrisDB or another database     runner
    matrix    anomalies x levels: prevented, allowed, or errored             matrix
    fuzz      random transactions, and the cycles in what they saw           fuzz
    interleavings   small transactions in every order of their steps         exhaustive

    spec_parser   text -> Spec                 spec           sessions, steps, permutations
    runner        Spec -> PermutationRun       session_thread one session, one thread
    target        what it runs against         ferris_target, dbapi_target
    report        -> isolationtester's text, or JSON
    expected      a recorded output, and where a run differs from it

    history       what each transaction did and saw           workload       what it is going to do
    interleaver   runs plans in one thread, thread_sessions in many          attempt: one of them
    subject       the database, reduced to reads and writes   subject_sql    any that speaks SQL
    checker       History -> Findings: observations -> version_order -> dependency_graph -> cycles
    phenomena     the names of anomalies, and which level forbids them       impossible_reads
    exhaustive    small_programs in every interleaving, judged by serial_orders

It drives databases from outside, through the interfaces that programs use. What it needs
beyond them is one question, which FerrisDB answers: is this session waiting for a lock?
"""
