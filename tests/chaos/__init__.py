"""Exactly-once under faults: a driver that breaks a running system from a seed, and a verifier that counts.

Four parts, each ignorant of the others' business: `feed` writes deterministic input, `inject` carries out the faults
that `faults` drew, `watch` sees outputs arrive, and afterwards `verifier`, in a process of its own and without a line
of the runtime, compares every output with a step-by-step loop over the model.

    python -m tests.chaos --transport confluent --nodes 1 --seconds 60 --faults 15 --seed 1 --json report.json
"""
