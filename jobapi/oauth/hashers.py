"""How client secrets are kept."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class ClientSecretHasher(PBKDF2PasswordHasher):
    """Hash a secret that nobody chose: 128 random characters need no slow hash, which would only help who floods us."""

    algorithm = "pbkdf2_sha256_client"
    iterations = 1000
