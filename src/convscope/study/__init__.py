"""The CIFAR-10 study: read the images, train plain networks fast, watch their filters form."""
