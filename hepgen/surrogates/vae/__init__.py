"""Variational auto-encoders: a density with latents, p(u | c) = ∫ p(u | z, c) p(z | c) dz."""
