"""How close generated images are to real ones: distances between sets of images, beside the floor of real ones."""
