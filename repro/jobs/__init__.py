"""Steps of a plan as jobs of a cluster: submitted through submitit, watched over where they run, told of here."""
