from . import ddpm_multitoken_gmm as ddpm_multitoken_gmm
