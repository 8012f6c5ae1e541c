# Config overrides for BlendIdentificationTask: footprints as Rubin's coadd
# pipelines make them.  Noise from the variance plane, no background
# subtraction, since both are right in a Rubin deep coadd.

config.footprints.noiseSource = "variance"
config.footprints.doSubtractBackground = False
config.footprints.doCorrectCorrelatedNoise = False
config.footprints.thresholdValue = 5.0
config.footprints.nSigmaToGrow = 2.4
config.footprints.minPixels = 1
