"""Ships bundles to devices, and back: images, registry, fleet, rollout.

==============  =======================================================================================
``images``      a build plan for a target, its Containerfile, the build itself, the list of its parts
``registry``    bundles as OCI artifacts: push, pull, resume
``release``     what is shipped, by digest; its signature
``fleet``       the inventory: devices, how they are reached, what runs on them; who is next
``remote``      commands for a device, made by pure functions from data; what carries them out
``rollout``     steps of one device, waves of many, gates, roll-back, journal, status
``render``      the same daemon for Kubernetes, Compose and systemd; dashboards and alerts
``device``      what runs on the device inside the image: asks the daemon's HTTP port
==============  =======================================================================================
"""
