"""What a bundle costs on this machine, stage by stage: what ``edge-rnn bench`` shows.

``model`` and ``stages`` measure inside this process, ``transport`` a group's member without a model,
``end_to_end`` the daemon itself. ``advice`` is pure: from these figures to what limits and what to set.
"""
