"""A segmented homogeneous calorimeter: shower profile, spots, digitisation, reconstruction."""
