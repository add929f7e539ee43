"""Does removing the tokens that an attribution calls important change the score?"""
