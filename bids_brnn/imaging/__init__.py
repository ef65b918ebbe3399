"""Images as arrays: noise level, denoising, motion, resampling, registration, masks."""
