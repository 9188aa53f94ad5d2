"""Operations that decoding needs besides `keras.ops`."""
