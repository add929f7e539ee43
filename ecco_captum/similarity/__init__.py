"""How alike the layers are: CCA, SVCCA, PWCCA and CKA, with a null."""
