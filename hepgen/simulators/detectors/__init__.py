"""A detector as in the Delphes CMS card, from stable particles to particle-flow objects."""
