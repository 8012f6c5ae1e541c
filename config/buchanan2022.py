# Config overrides for BlendIdentificationTask: footprints as in Buchanan et
# al. 2022 (ApJ 924, 94), and the right choice for any plain image without a
# variance plane.  Sky noise from the clipped variance of the pixels, an
# estimated background subtracted.

config.footprints.noiseSource = "clipped"
config.footprints.doSubtractBackground = True
config.footprints.doCorrectCorrelatedNoise = False
config.footprints.thresholdValue = 5.0
config.footprints.nSigmaToGrow = 2.4
config.footprints.minPixels = 1
